"""Who may come in: `credentials` (passwords by user), `derive` (the dear part of proving one)."""
