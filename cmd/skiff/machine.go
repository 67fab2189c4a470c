package main

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/skiff-project/skiff/pkg/machine/control"
)

func newMachine(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "machine",
		Short: "Look into the machines of a cluster",
		Run:   func(cmd *cobra.Command, _ []string) { _ = cmd.Help() },
	}
	cmd.AddCommand(newMachineList(streams), newMachineExec())
	return cmd
}

func newMachineList(streams genericiooptions.IOStreams) *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the machines of a cluster",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := t.open()
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(streams.Out, 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, "NAME\tADDRESS\tPID\tDATA")
			for _, m := range c.Machines() {
				pid := "gone"
				if m.Lives() {
					pid = fmt.Sprint(m.PID())
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Name(), m.Address(), pid, m.Data())
			}
			return w.Flush()
		},
	}
	t.addFlags(cmd.Flags())
	return cmd
}

func newMachineExec() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:   "exec MACHINE [--] COMMAND [ARG...]",
		Short: "Run a command in a machine, as root and in its namespaces",
		Example: `  # The packet rules of a node
  skiff machine exec node-1 -- iptables-save -t nat

  # A shell
  skiff machine exec node-1 -- bash`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := t.open()
			if err != nil {
				return err
			}
			m, err := c.Machine(args[0])
			if err != nil {
				return err
			}
			argv := args[1:]
			if argv[0] == "--" {
				argv = argv[1:] // flags end with the machine's name anyway
			}
			if len(argv) == 0 {
				return errors.New("no command given")
			}
			e := control.Exec{Argv: argv}
			if name := os.Getenv("TERM"); name != "" {
				e.Env = []string{"TERM=" + name}
			}
			code := 0
			if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
				code, err = execOnTerminal(m, e)
			} else {
				code, err = m.Exec(e, os.Stdin, os.Stdout, os.Stderr)
			}
			if err != nil {
				return err
			}
			if code != 0 {
				os.Exit(code)
			}
			return nil
		},
	}
	t.addFlags(cmd.Flags())
	cmd.Flags().SetInterspersed(false)
	return cmd
}
