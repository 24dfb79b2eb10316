"""Root of the test configuration: pytest's own `pytester`, for the tests that run pytest inside pytest."""

pytest_plugins = ["pytester"]
