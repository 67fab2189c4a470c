package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Main executes cmd as the whole process: the command's context ends at SIGTERM or SIGINT, a second signal ends the
// process at once, and an error becomes one line on standard error and exit code 1.
func Main(cmd *cobra.Command) {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	ctx, stop := SignalContext(context.Background())
	err := cmd.ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", cmd.Name(), err)
		os.Exit(1)
	}
}

// SignalContext answers a context that ends at the first SIGTERM or SIGINT. From then on these signals have their
// default effect again, so that a second one ends a process that hangs while it stops.
func SignalContext(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
