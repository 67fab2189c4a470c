// Package probes asks containers whether they have started, live and are ready. A Container is the probing of one running
// container from its start to its end. It costs a timer for each probe and a goroutine only while a check runs, so that
// hundreds of probes cost next to nothing. Whoever owns it is told at once when what it says of the container changes.
package probes
