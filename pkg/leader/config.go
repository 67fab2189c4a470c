package leader

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Config says which Lease decides and how fast.
type Config struct {
	// Enabled off means that this process leads without asking: there is only one.
	Enabled bool
	// Name and Namespace of the Lease.
	Name, Namespace string
	// Identity tells this process from the other candidates; host name and a random part when empty.
	Identity string
	// LeaseDuration is how long the others wait for a leader that has gone silent.
	LeaseDuration time.Duration
	// RenewDeadline is how long the leader goes on while it cannot renew; less than LeaseDuration, or two would lead.
	RenewDeadline time.Duration
	// RetryPeriod is the time between two renewals, and between two tries after an error.
	RetryPeriod time.Duration
}

// Defaults are upstream's.
func Defaults(name string) Config {
	return Config{
		Enabled: true, Name: name, Namespace: metav1.NamespaceSystem,
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
	}
}

// AddFlags declares upstream's flags.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&c.Enabled, "leader-elect", c.Enabled, "work only while holding the lease")
	flags.DurationVar(&c.LeaseDuration, "leader-elect-lease-duration", c.LeaseDuration, "how long others wait for a silent leader")
	flags.DurationVar(&c.RenewDeadline, "leader-elect-renew-deadline", c.RenewDeadline, "how long a leader goes on without renewing")
	flags.DurationVar(&c.RetryPeriod, "leader-elect-retry-period", c.RetryPeriod, "time between two tries to take or renew the lease")
	flags.StringVar(&c.Namespace, "leader-elect-resource-namespace", c.Namespace, "namespace of the lease")
	flags.StringVar(&c.Name, "leader-elect-resource-name", c.Name, "name of the lease")
	flags.String("leader-elect-resource-lock", "leases", "kind of the lock; leases is the only one")
}

func (c Config) check() error {
	switch {
	case c.Name == "" || c.Namespace == "":
		return fmt.Errorf("leader election: the lease has no name or no namespace")
	case c.RetryPeriod <= 0:
		return fmt.Errorf("leader election: the retry period must be positive, not %s", c.RetryPeriod)
	case c.RenewDeadline <= c.RetryPeriod:
		return fmt.Errorf("leader election: the renew deadline (%s) must be longer than the retry period (%s)", c.RenewDeadline, c.RetryPeriod)
	case c.LeaseDuration <= c.RenewDeadline:
		return fmt.Errorf("leader election: the lease duration (%s) must be longer than the renew deadline (%s)", c.LeaseDuration, c.RenewDeadline)
	case c.LeaseDuration < time.Second:
		return fmt.Errorf("leader election: the lease duration must be a second at least, not %s", c.LeaseDuration)
	}
	return nil
}
