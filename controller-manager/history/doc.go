// Package history keeps the past pod templates of a StatefulSet or DaemonSet as ControllerRevisions, in the form in which
// upstream keeps them: a roll-back, by kubectl or by either controller manager, compares and applies their bytes.
package history
