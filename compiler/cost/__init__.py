"""What a plan costs by arithmetic."""
