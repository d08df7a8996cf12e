"""Space: grids, volumes on them, resampling, registration, labels carried from grid to grid."""
