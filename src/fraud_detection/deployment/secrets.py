"""Secrets that a project names: each a parameter of the stack whose value stands in no template or answer."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from fraud_detection.core.errors import ConfigError

TOKEN_KEY = "TokenKey"  # noqa: S105 - the name of a parameter
TOKEN_BYTES = 32
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
"""What Lambda takes as the name of a variable."""
OF_LAMBDA = re.compile(r"AWS_|LAMBDA_|_|(PATH|LANG|TZ|PYTHON\w*|LD_\w*)$")
"""What names of the runtime's own variables begin with, or are."""


def check_secrets(variables: Sequence[str]) -> tuple[str, ...]:
    """Return the names of variables; raise ConfigError for one that Lambda does not let us choose.

    >>> check_secrets(["FRAUD_CONTROL_GROUP_KEY"])
    ('FRAUD_CONTROL_GROUP_KEY',)
    """
    for variable in variables:
        if not NAME.fullmatch(variable) or OF_LAMBDA.match(variable):
            raise ConfigError(
                f"control_group.key_variable: {variable!r} cannot be a variable of a Lambda function: "
                "name it "
                "with letters, digits and _, and not as the runtime names its own, such as "
                "FRAUD_CONTROL_GROUP_KEY"
            )
    return tuple(variables)


def parameter_of(variable: str) -> str:
    """Return the name of a secret's parameter.

    >>> parameter_of("FRAUD_CONTROL_GROUP_KEY")
    'SecretFraudControlGroupKey'
    """
    return "Secret" + "".join(part[:1].upper() + part[1:].lower() for part in variable.split("_"))


def parameters(variables: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the parameters of the template that hold secrets."""
    return {
        TOKEN_KEY: {
            "Type": "String",
            "NoEcho": True,
            "MinLength": 32,
            "Description": "Makes the tokens that stand for entity ids in the log",
        },
        **{
            parameter_of(variable): {
                "Type": "String",
                "NoEcho": True,
                "MinLength": 1,
                "Description": f"The value of {variable}, which the project file names",
            }
            for variable in variables
        },
    }


def values(
    variables: Sequence[str], there: Mapping[str, object], environment: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the values of the secrets: as they were in the stack, else as given here, else made by chance.

    there: parameters that the stack has by now.  environment: of whoever deploys.
    """
    wanted = {TOKEN_KEY: ""} | {
        parameter_of(variable): environment.get(variable, "") for variable in variables
    }
    return [
        {"ParameterKey": name, "UsePreviousValue": True}
        if name in there
        else {"ParameterKey": name, "ParameterValue": value or secrets.token_hex(TOKEN_BYTES)}
        for name, value in wanted.items()
    ]
