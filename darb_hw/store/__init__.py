"""Results that are kept: each under the digest of all that it depends on."""
