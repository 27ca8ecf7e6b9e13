"""Review sessions on a Label Studio server."""
