"""What the trainings of detectors and localizers share: options, the plan of the data, beginning and resuming."""
