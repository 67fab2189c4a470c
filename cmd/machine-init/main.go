// Command machine-init is PID 1 of a machine. `skiff up` starts it; people do not.
package main

import (
	"fmt"
	"os"

	"github.com/skiff-project/skiff/pkg/machine/pid1"
)

func main() {
	err := fmt.Errorf("usage: machine-init enter SPEC (started by skiff up)")
	switch {
	case len(os.Args) == 3 && os.Args[1] == "enter":
		err = pid1.Enter(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == "run":
		err = pid1.Run()
	}
	fmt.Fprintln(os.Stderr, "machine-init:", err)
	os.Exit(1)
}
