"""Why an answer comes in time whatever a provider does: guards around look-ups and charges, with a breaker and a cache."""
