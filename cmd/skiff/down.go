package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/skiff-project/skiff/pkg/machine"
)

func newDown(streams genericiooptions.IOStreams) *cobra.Command {
	t := &target{}
	keep, all := false, false
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End a cluster of machines and remove everything of it",
		Long: `End a cluster, whole or half started. Afterwards no process, mount, namespace, interface, cgroup, packet rule or file
of it is left, and the kubeconfig is as it was before 'skiff up'.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := t.host()
			if err != nil {
				return err
			}
			names := []string{t.name}
			if all {
				if names, err = h.Names(); err != nil {
					return err
				}
			}
			var errs []error
			for _, name := range names {
				p := &progress{out: streams.Out}
				p.begin()
				c, err := h.Open(name)
				if err == nil {
					removeContext(c)
				}
				err = h.Destroy(cmd.Context(), name, keep)
				if errors.Is(err, machine.ErrNotFound) {
					fmt.Fprintf(streams.Out, "no cluster %q runs here\n", name)
					continue
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				p.say("cluster %q is gone", name)
			}
			return errors.Join(errs...)
		},
	}
	t.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&keep, "keep-data", false, "Keep etcd's data, keys and images, with which the next 'skiff up' of this name goes on")
	cmd.Flags().BoolVar(&all, "all", false, "End all clusters of this host")
	return cmd
}
