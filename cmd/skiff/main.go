// Command skiff is the command line: every verb of kubectl, by kubectl's own code, and the verbs that make, show and end
// clusters of machines on this host. A verb of ours is a file here.
package main

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/templates"
)

func main() {
	root := newRoot(os.Args, genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
	if err := cli.RunNoErrOutput(root); err != nil {
		cmdutil.CheckErr(err) // prints as kubectl does, and exits
	}
}

func newRoot(args []string, streams genericiooptions.IOStreams) *cobra.Command {
	ours := []*cobra.Command{newUp(streams), newDown(streams), newStatus(streams), newImage(streams), newMachine(streams)}
	options := kubectl.KubectlOptions{
		Arguments: args,
		IOStreams: streams,
		ConfigFlags: genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().
			WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWarningPrinter(streams),
	}
	if !isOurs(ours, args) {
		// Looks for a plugin at once if kubectl has no such verb, and does not return if there is one.
		options.PluginHandler = kubectl.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes)
	}
	root := kubectl.NewDefaultKubectlCommandWithArgs(options)
	root.Use = "skiff"
	root.Short = "skiff makes clusters and controls them"
	root.Long = "skiff makes clusters on this machine, and controls any Kubernetes cluster as kubectl does."
	addVersion(root, streams)
	group(root, ours)
	return root
}

// isOurs says whether the command line names a verb of ours, for which no plugin is to be looked up.
func isOurs(ours []*cobra.Command, args []string) bool {
	for _, a := range args[min(1, len(args)):] {
		if strings.HasPrefix(a, "-") {
			continue
		}
		return slices.ContainsFunc(ours, func(c *cobra.Command) bool { return c.Name() == a })
	}
	return false
}

// group adds our verbs and lists them before kubectl's in the help.
func group(root *cobra.Command, ours []*cobra.Command) {
	var theirs []*cobra.Command
	for _, c := range root.Commands() {
		if !c.Hidden && c.Name() != "options" && c.Name() != "alpha" {
			theirs = append(theirs, c)
		}
	}
	root.AddCommand(ours...)
	templates.ActsAsRootCommand(root, []string{"options", "alpha"},
		templates.CommandGroup{Message: "Clusters of machines on this host:", Commands: ours},
		templates.CommandGroup{Message: "Commands for any cluster, as kubectl has them:", Commands: theirs},
	)
}
