"""Any ``nn.Module``: its prunable layers, its masks, and which layers read which tensor."""
