import inspect
import re

import pytest

from synccash.payments import errors
from synccash.payments.errors import (
    InternalError,
    OperatorRequiredError,
    PaymentError,
    RequestError,
    RetryLaterError,
)
from synccash.stores.postgres.errors import InvariantBrokenError

GROUPS = (RequestError, RetryLaterError, OperatorRequiredError, InternalError)
CLASSES = [InvariantBrokenError, *(one for _, one in inspect.getmembers(errors, inspect.isclass))]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_belongs_to_a_group_that_states_what_its_caller_can_do(error: type[Exception]):
    if error is not PaymentError:
        assert sum(issubclass(error, group) for group in GROUPS) == 1


def test_the_error_tree_in_the_module_docstring_matches_the_classes():
    tree = {
        name: len(indent) // 4
        for indent, name in re.findall(r"^([│├└─ ]*)(\w+Error)\b", errors.__doc__, re.M)
    }
    roots = (PaymentError, InternalError)
    depth = {
        one.__name__: one.__mro__.index(root) for one in CLASSES for root in roots if issubclass(one, root)
    }
    assert tree == depth


def test_a_bug_is_not_handled_as_a_refused_request():
    assert not issubclass(InternalError, PaymentError)
