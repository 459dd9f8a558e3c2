"""What is measured of one scene: pose, trajectory, depth, points, confidence, and the move from full precision."""
