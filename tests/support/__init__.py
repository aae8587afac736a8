"""What several test files share."""

import pytest

pytest.register_assert_rewrite("support.cases", "support.networks", "support.refusals", "support.waiting")
