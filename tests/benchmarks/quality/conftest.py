"""The quality benchmarks run the app, so their tests use the isolated EDGE_APP_HOME of the app's tests."""

from tests.edge_app.conftest import home, online_afterwards, store

__all__ = ["home", "online_afterwards", "store"]
