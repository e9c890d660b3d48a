"""LoRA adapters: their files, installing, loading and training. Must not import router or edge_app (layer contract)."""
