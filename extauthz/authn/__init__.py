"""Ways to authenticate. Each implements `ports.CredentialMethod`; the pipeline tries those the configuration lists."""

from extauthz.authn.api_key import ApiKeys
from extauthz.authn.mint import ApiKeyMint
from extauthz.authn.pepper import Pepper, PepperBook
from extauthz.authn.pepper_source import LoadedPeppers, load_peppers
from extauthz.authn.refusals import Refusals
from extauthz.authn.uses import KeyUses

__all__ = ["ApiKeyMint", "ApiKeys", "KeyUses", "LoadedPeppers", "Pepper", "PepperBook", "Refusals", "load_peppers"]
