// Package jsonplan reads and writes the JSON of API types along a plan that is made once per type, and applies merge
// patches to them in place. It does what encoding/json, sigs.k8s.io/json in its strict form, and the libraries of the two
// kinds of merge patch do, in a fifth of their time, wherever nothing is out of the ordinary.
//
// Everything else it leaves to them: each function answers false for what it does not know, and for every mistake, since
// the libraries have the messages. Property tests hold it against them on random objects of every kind, and a fuzz test on
// random bodies. Who changes it should know that it writes to memory by offsets; what a type holds is checked when its plan
// is made, and never later.
package jsonplan
