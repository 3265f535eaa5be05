"""Isolation, verified on a running installation: canaries in throwaway tenants, every door tried as each caller."""
