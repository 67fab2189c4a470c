// Command controller-manager makes the cluster's state what its objects ask for.
package main

import (
	"github.com/spf13/cobra"

	controllermanager "github.com/skiff-project/skiff/controller-manager"
	"github.com/skiff-project/skiff/pkg/run"
)

func main() {
	run.Lean()
	config := controllermanager.Defaults()
	cmd := &cobra.Command{
		Use:   "controller-manager",
		Short: "Make the cluster's state what its objects ask for",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			manager, err := controllermanager.New(config)
			if err != nil {
				return err
			}
			return manager.Run(cmd.Context())
		},
	}
	config.AddFlags(cmd.Flags())
	run.Main(cmd)
}
