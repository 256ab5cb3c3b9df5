"""From a request to a decision: authenticate, then the gates in order; the first denial wins."""

from extauthz.pipeline.authenticate import Authenticated, Authenticator
from extauthz.pipeline.rules import RuleBook
from extauthz.pipeline.run import Pipeline

__all__ = ["Authenticated", "Authenticator", "Pipeline", "RuleBook"]
