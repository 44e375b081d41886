"""What can be measured and drawn of a model, a run or a data set: functions that tools/ call."""
