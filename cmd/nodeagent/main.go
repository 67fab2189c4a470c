// Command nodeagent runs the pods of the node it runs on. It takes the kubelet's place: flags carry its names.
package main

import (
	"github.com/spf13/cobra"

	"github.com/skiff-project/skiff/nodeagent"
	"github.com/skiff-project/skiff/pkg/run"
)

func main() {
	run.Lean()
	var o options
	cmd := &cobra.Command{
		Use:   "nodeagent",
		Short: "Runs the pods of this node.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := o.load(cmd.Context())
			if err != nil {
				return err
			}
			agent, err := nodeagent.New(config)
			if err != nil {
				return err
			}
			go run.GiveBackWhenIdle(cmd.Context())
			return agent.Run(cmd.Context())
		},
	}
	o.addFlags(cmd.Flags())
	run.Main(cmd)
}
