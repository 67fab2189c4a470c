// Package ttlafterfinished deletes Jobs that have been over for as long as spec.ttlSecondsAfterFinished says.
//
// It owns: nothing; it deletes Jobs, with their pods. It is woken by: Jobs, and by the time at which one is due.
// It never touches: Jobs without that field, or that are not over.
package ttlafterfinished
