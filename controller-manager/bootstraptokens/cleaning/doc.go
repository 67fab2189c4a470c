// Package cleaning deletes bootstrap tokens that have expired.
//
// It owns: nothing; it deletes Secrets of that type. It is woken by: them, and by the time at which one ends.
package cleaning
