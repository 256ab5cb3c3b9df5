"""The state tables in PostgreSQL: their migrations, and bringing a database to them."""

from pathlib import Path
from typing import Final

from extauthz.providers import postgres_setup
from extauthz.providers.postgres_schema import Lineage
from extauthz.providers.schema_status import Migrations, SchemaStatus

LINEAGE: Final = Lineage(
    name="state",
    migrations=Migrations(directory=Path(__file__).parent / "migrations" / "postgres_state", revisions=("0001",)),
)


async def upgrade(url: str) -> SchemaStatus:
    """Bring the state tables at `url` to this version's schema; they are made where they are absent.

    Raises:
        ConfigError: the URL can't be read.
        ProviderError: the database gives no answer, or refuses.
        SchemaMismatch: the schema is another program's, or newer than this version.
    """
    return await postgres_setup.upgrade(url, LINEAGE)


async def status(url: str) -> SchemaStatus:
    """Which schema the state tables at `url` have; changes nothing.

    Raises:
        ConfigError: the URL can't be read.
        ProviderError: the database gives no answer.
        SchemaMismatch: the schema is another program's.
    """
    return await postgres_setup.status(url, LINEAGE)
