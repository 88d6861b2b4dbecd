"""The service in Nion Swift's window: what the operator sets, and what the tabs follow."""
