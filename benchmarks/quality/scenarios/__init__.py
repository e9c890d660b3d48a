"""The modes over answered questions: how they divide them between the device and a cloud."""
