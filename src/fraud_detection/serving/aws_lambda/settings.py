"""Settings of the Lambda function, read from its environment when it starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fraud_detection.core.decoding import decode
from fraud_detection.serving.aws_lambda.profile_store import ProfilesChoice

PREFIX = "FRAUD_"


class ProcessorSettings(ProfilesChoice, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings from the function's environment, each as FRAUD_<NAME>.

    token_key: key of the entity tokens in the log; without it they cannot be linked to ids.
    budget_ms: how long the endpoint may take for one batch, retries included.  environment: dimension of the
    metrics.  decisions_days: how long they are kept after they were written; 0 is for ever.
    """

    endpoint: str
    profiles_table: str
    decisions_table: str
    labels_table: str
    quarantine_bucket: str
    token_key: str
    bundle: str = "bundle"
    environment: str = "local"
    budget_ms: int = 2_000
    decisions_days: int = 0

    @classmethod
    def read(cls, environment: Mapping[str, str], secrets: Collection[str] = ()) -> ProcessorSettings:
        """Return the settings; raise ConfigError that names the variable.

        secrets: variables that the project names for itself.
        """
        variables = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX) and name not in secrets
        }
        numbers = {"budget_ms", "decisions_days", "profiles_days"}
        plain = {
            name: int(value) if name in numbers and value.isdecimal() else value
            for name, value in variables.items()
        }
        return decode(plain, cls, "environment FRAUD_*")
