// Package job runs pods until enough of them have succeeded, or too many have failed.
//
// It owns: the pods controlled by a Job, their finalizer batch.kubernetes.io/job-tracking, and the Job's status.
// It is woken by: Jobs, their pods, and the times at which a deadline or a back-off ends.
// It never touches: Jobs that spec.managedBy gives to another controller.
//
// Every pod is counted exactly once, whatever happens in between. A pod that has ended keeps its finalizer, and so cannot
// vanish, until its UID is in status.uncountedTerminatedPods; then the finalizer goes; then the UID becomes one more in
// the counters. Each of the three steps may be repeated, none is ever skipped. For an indexed Job the set of
// succeeded indexes takes the place of the UIDs of succeeded pods.
package job
