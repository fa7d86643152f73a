"""What a plan would take, before it is run: tokens counted or sampled, time by arithmetic."""
