"""How much of the service a tenant, a key, a user and a stranger may take."""
