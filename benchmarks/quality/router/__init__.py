"""How often routers choose the right adapter, and what a choice costs."""
