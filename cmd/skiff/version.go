package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// version is set by the build.
var version = "development"

// addVersion makes kubectl's version verb say Skiff's version first. Its JSON and YAML forms stay as they are: programs
// read them.
func addVersion(root *cobra.Command, streams genericiooptions.IOStreams) {
	cmd, _, err := root.Find([]string{"version"})
	if err != nil {
		return
	}
	cmd.Short = "Print the versions of skiff, of kubectl's code in it, and of the server"
	kubectls := cmd.Run
	cmd.Run = func(cmd *cobra.Command, args []string) {
		if cmd.Flag("output").Value.String() == "" {
			fmt.Fprintf(streams.Out, "Skiff Version: %s\n", version)
		}
		kubectls(cmd, args)
	}
}
