package runtime

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrNotFound is what every method returns, wrapped, for an id (or image) that the runtime does not know.
// StopX and RemoveX never return it: what is gone is stopped and removed.
var ErrNotFound = errors.New("not found")

// ErrExecTimeout is returned, wrapped, by ExecSync when the command did not end in time; it has been killed.
var ErrExecTimeout = errors.New("timed out")

// A Runtime runs sandboxes and containers. All methods may be called from many goroutines; calls for one sandbox are
// expected from one goroutine at a time (its pod worker), except reads, streams and StopContainer.
type Runtime interface {
	// Version names the runtime for node.status.nodeInfo.containerRuntimeVersion: NAME://VERSION.
	// NAME is also the scheme of container ids in pod status (skiff://ID).
	Version(ctx context.Context) (Version, error)

	// Ready says whether containers can be started at all: nil, or what is missing (the node's Ready condition).
	Ready(ctx context.Context) error

	// SetPodCIDRs tells the pod range(s) of this node as soon as known. RunSandbox for a pod that is not on the host
	// network fails until then.
	SetPodCIDRs(ctx context.Context, cidrs []string) error

	// RunSandbox makes namespaces, address and pod cgroup. LogDirectory and CgroupParent are created when missing.
	// On error nothing is left behind.
	RunSandbox(ctx context.Context, config SandboxConfig) (Sandbox, error)
	// StopSandbox kills what still runs in the sandbox at once and gives its address back. Idempotent.
	StopSandbox(ctx context.Context, id string) error
	// RemoveSandbox stops the sandbox if need be and removes it with all of its containers and its cgroup. Idempotent.
	RemoveSandbox(ctx context.Context, id string) error
	Sandboxes(ctx context.Context) ([]Sandbox, error)
	Sandbox(ctx context.Context, id string) (Sandbox, error)

	// CreateContainer prepares everything short of running the command. On error nothing is left behind.
	CreateContainer(ctx context.Context, config ContainerConfig) (id string, err error)
	// StartContainer runs the command. When it fails, as it does for a command that is not in the image, the container
	// has ended with exit code 128 and reason StartError (or ContainerCannotRun), and the error says why.
	StartContainer(ctx context.Context, id string) error
	// StopContainer sends the stop signal, waits up to grace for the end, then kills. It returns when the container has
	// ended. The signal is ContainerConfig.StopSignal, else the image's, else SIGTERM. Calling it again with a
	// shorter grace while a call waits shortens the wait. Grace 0 kills at once.
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	// RemoveContainer kills if need be and forgets the container. Its log file stays.
	RemoveContainer(ctx context.Context, id string) error
	Containers(ctx context.Context) ([]ContainerStatus, error)
	ContainerStatus(ctx context.Context, id string) (ContainerStatus, error)
	// UpdateResources changes CPU, memory and process limits of a created or running container in place.
	UpdateResources(ctx context.Context, id string, resources Resources) error
	// UpdatePodResources changes the limits of the pod's cgroup (SandboxConfig.PodResources).
	UpdatePodResources(ctx context.Context, sandboxID string, resources Resources) error

	// ExecSync runs a command in a running container and returns its output, each stream cut at 16 MiB.
	// Timeout 0 means none. A code other than 0 is no error.
	ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (ExecResult, error)
	// Exec runs a command with streams. It returns when the command has ended.
	Exec(ctx context.Context, id string, options ExecOptions) (exitCode int, err error)
	// Attach connects to the streams of the container's first process until it ends or ctx does.
	Attach(ctx context.Context, id string, options AttachOptions) error
	// PortForward joins stream with a TCP port on the loopback address of the sandbox, until either side ends.
	// It closes the stream.
	PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error
	// ReopenLog makes the container's log be written to a new file of the same name, after a rotation moved it away.
	ReopenLog(ctx context.Context, id string) error

	// Events tells what happened since the call, until ctx ends; then the channel is closed. An event is a hint to look at
	// the status; a slow reader gets fewer of them (one per container is enough), never a wrong one.
	Events(ctx context.Context) <-chan Event

	// ContainerStats and PodStats read the usage counters now.
	ContainerStats(ctx context.Context, id string) (Stats, error)
	PodStats(ctx context.Context, sandboxID string) (PodStats, error)
}

// Version of a runtime.
type Version struct {
	Name    string // skiff, containerd, cri-o
	Version string
}

func (v Version) String() string { return v.Name + "://" + v.Version }

// Protocol of a mapped port, in the API's words: TCP, UDP, SCTP.
type Protocol string

// Protocols of a PortMapping.
const (
	TCP  Protocol = "TCP"
	UDP  Protocol = "UDP"
	SCTP Protocol = "SCTP"
)

// PortMapping opens a port of the node for the sandbox (a container's hostPort).
type PortMapping struct {
	Protocol      Protocol
	HostIP        string // "" means every address of the node
	HostPort      int32
	ContainerPort int32
}

// DNS is what the runtime writes to no file: the agent writes resolv.conf itself and mounts it. CRI runtimes want it.
type DNS struct {
	Servers  []string
	Searches []string
	Options  []string
}

// Pod says whose sandbox it is. Attempt grows with every sandbox made for the same pod.
type Pod struct {
	Namespace string
	Name      string
	UID       string
	Attempt   uint32
}

// SandboxConfig is what a sandbox is made from.
type SandboxConfig struct {
	Pod          Pod
	Hostname     string // at most 64 bytes; ignored with HostNetwork
	LogDirectory string // /var/log/pods/NS_NAME_UID
	DNS          DNS
	PortMappings []PortMapping

	HostNetwork bool
	HostPID     bool
	HostIPC     bool
	// SharePID puts the containers into one PID namespace whose first process is the sandbox's own.
	SharePID bool
	// UserNamespace gives the pod its own user ids (hostUsers: false); nil means the node's.
	UserNamespace *UserNamespace

	Sysctls map[string]string

	// CgroupParent is the pod's cgroup, relative to the cgroup root: /kubepods/burstable/podUID. See package cgroups.
	CgroupParent string
	// PodResources are the limits of that cgroup: the sum over the containers where every one has a limit.
	PodResources Resources

	// RuntimeHandler is the handler of the pod's RuntimeClass; "" is the default one.
	RuntimeHandler string

	SELinux *SELinux
	Seccomp Seccomp
	// Privileged is true when one of the containers is. CRI runtimes want to know.
	Privileged bool

	Labels      map[string]string
	Annotations map[string]string
}

// UserNamespace maps ids 0..Length-1 of the pod to HostID.. on the node.
type UserNamespace struct {
	HostID uint32
	Length uint32
}

// SandboxState says whether a sandbox can hold containers.
type SandboxState string

// States of a sandbox.
const (
	SandboxReady    SandboxState = "Ready"
	SandboxNotReady SandboxState = "NotReady" // stopped, or its process died
)

// Sandbox as it is now.
type Sandbox struct {
	ID          string
	Pod         Pod
	State       SandboxState
	CreatedAt   time.Time
	IPs         []string // pod IPs, primary family first; empty on the host network
	PID         int      // of the infra process; 0 when unknown or not running
	NetNS       string   // path of the network namespace; empty on the host network
	HostNetwork bool

	RuntimeHandler string
	CgroupParent   string
	LogDirectory   string
	Labels         map[string]string
	Annotations    map[string]string
}

// Propagation of a mount between the node and the container.
type Propagation string

// Propagations, named as the API's mountPropagation.
const (
	PropagationPrivate       Propagation = "None"
	PropagationHostToPod     Propagation = "HostToContainer"
	PropagationBidirectional Propagation = "Bidirectional"
)

// Mount puts a path of the node, or of an image, into a container.
type Mount struct {
	HostPath      string // a file or folder that exists; sub-paths are already resolved
	ContainerPath string
	ReadOnly      bool
	// RecursiveReadOnly makes mounts below HostPath read-only as well. Only with ReadOnly; fails where the kernel lacks it.
	RecursiveReadOnly bool
	Propagation       Propagation
	// Image mounts the root of an image (an image volume) in place of HostPath; always read-only.
	Image        string
	ImageSubPath string
	// Noexec, as image volumes want it.
	NoExec bool
}

// Device of the node that a container may use.
type Device struct {
	HostPath      string
	ContainerPath string
	Permissions   string // some of rwm
}

// Resources of a container or pod cgroup. Zero means "no limit" for limits; CPUShares 0 means the least (2).
type Resources struct {
	CPUShares int64
	CPUPeriod int64 // microseconds, 0 means 100000
	CPUQuota  int64 // microseconds per period; 0 or -1: none

	MemoryLimit int64 // bytes
	// MemorySwapLimit bytes of memory plus swap; 0 means the same as MemoryLimit (no swap).
	MemorySwapLimit int64

	OOMScoreAdj int64 // ignored on update and for pods
	PidsLimit   int64
	CpusetCPUs  string
	CpusetMems  string
	// HugepageLimits by page size, as "2MB".
	HugepageLimits map[string]uint64
	// Unified are cgroup v2 files to set, as memory.high.
	Unified map[string]string
}

// SeccompKind as the API's seccompProfile.type.
type SeccompKind string

// Kinds of seccomp profile.
const (
	SeccompUnconfined     SeccompKind = "Unconfined"
	SeccompRuntimeDefault SeccompKind = "RuntimeDefault"
	SeccompLocalhost      SeccompKind = "Localhost"
)

// Seccomp profile; LocalhostPath is absolute. The zero value is Unconfined.
type Seccomp struct {
	Kind          SeccompKind
	LocalhostPath string
}

// SELinux labels of a process.
type SELinux struct {
	User, Role, Type, Level string
}

// SecurityContext of a container: what the pod's and the container's say together.
type SecurityContext struct {
	// RunAsUser nil: the image's user, else 0. RunAsUserName is for images whose user the agent looked at.
	RunAsUser  *int64
	RunAsGroup *int64
	// SupplementalGroups, with fsGroup and the groups of volumes among them.
	SupplementalGroups []int64
	// SupplementalGroupsStrict leaves out the groups that the image's /etc/group gives the user.
	SupplementalGroupsStrict bool

	Privileged       bool
	ReadOnlyRootfs   bool
	NoNewPrivileges  bool
	AddCapabilities  []string // NET_ADMIN or ALL, without CAP_
	DropCapabilities []string
	Seccomp          Seccomp
	AppArmorProfile  string // "" or unconfined, runtime/default, localhost/NAME
	SELinux          *SELinux

	// UnmaskedProc is procMount: Unmasked.
	UnmaskedProc bool
}

// EnvVar is a variable of the environment. Order is kept, the last of a name wins.
type EnvVar struct {
	Name, Value string
}

// ContainerConfig is what a container is made from. Image, command, environment are final: variables are expanded.
type ContainerConfig struct {
	SandboxID string
	Name      string
	Attempt   uint32 // restart count

	// Image is the id that Images.Status gave; ImageRef is what the user wrote.
	Image    string
	ImageRef string

	// Command replaces the image's entrypoint and command; Args alone replaces the command.
	Command    []string
	Args       []string
	Env        []EnvVar // after the image's
	WorkingDir string   // "" is the image's

	Mounts    []Mount
	Devices   []Device
	CDI       []string // names of devices of the Container Device Interface
	Security  SecurityContext
	Resources Resources

	// TargetContainer joins the PID namespace of that container (ephemeral containers).
	TargetContainer string

	TTY       bool
	Stdin     bool
	StdinOnce bool

	// LogPath is relative to the sandbox's LogDirectory: NAME/ATTEMPT.log.
	LogPath string

	StopSignal string // SIGUSR1; "" is the image's

	Labels      map[string]string
	Annotations map[string]string
}

// ContainerState is the life of a container: Created, Running, Exited.
type ContainerState string

// States of a container.
const (
	Created ContainerState = "Created"
	Running ContainerState = "Running"
	Exited  ContainerState = "Exited"
	Unknown ContainerState = "Unknown"
)

// Reasons of an Exited container, as pod status shows them.
const (
	ReasonCompleted          = "Completed"
	ReasonError              = "Error"
	ReasonOOMKilled          = "OOMKilled"
	ReasonStartError         = "StartError"
	ReasonContainerCannotRun = "ContainerCannotRun"
)

// ContainerStatus is a container as it is now.
type ContainerStatus struct {
	ID        string
	SandboxID string
	Pod       Pod
	Name      string
	Attempt   uint32

	State      ContainerState
	CreatedAt  time.Time
	StartedAt  time.Time // zero before
	FinishedAt time.Time // zero before
	ExitCode   int32
	Signal     int32 // 0 unless a signal ended it
	Reason     string
	Message    string
	PID        int // while running

	Image    string // as ContainerConfig.ImageRef
	ImageID  string // as pod status shows it: NAME@sha256:... or sha256:...
	LogPath  string // absolute
	Mounts   []Mount
	TTY      bool
	Stdin    bool
	User     *User
	Resource Resources // as set now

	StopSignal  string
	Labels      map[string]string
	Annotations map[string]string
}

// User that the first process was started as.
type User struct {
	UID                int64
	GID                int64
	SupplementalGroups []int64
}

// TermSize of a terminal.
type TermSize struct {
	Width, Height uint16
}

// ExecOptions of a streaming exec. Nil streams are not connected. With TTY Stderr is not used.
type ExecOptions struct {
	Command []string
	TTY     bool
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Resize  <-chan TermSize
}

// AttachOptions of an attach; as ExecOptions, TTY being the container's own.
type AttachOptions struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Resize <-chan TermSize
}

// ExecResult is what ExecSync got.
type ExecResult struct {
	Stdout, Stderr []byte
	ExitCode       int
}

// EventKind says what happened.
type EventKind string

// Kinds of Event.
const (
	ContainerCreated EventKind = "ContainerCreated"
	ContainerStarted EventKind = "ContainerStarted"
	ContainerExited  EventKind = "ContainerExited"
	ContainerRemoved EventKind = "ContainerRemoved"
	SandboxStopped   EventKind = "SandboxStopped" // also when its process died by itself
	// Missed means that events were lost; look at everything of every pod.
	Missed EventKind = "Missed"
)

// Event says that something of a pod changed.
type Event struct {
	Kind        EventKind
	PodUID      string
	SandboxID   string
	ContainerID string // empty for sandbox events
}

// Stats of a cgroup.
type Stats struct {
	Time time.Time
	// CPUNanos used since the cgroup was made.
	CPUNanos uint64
	// MemoryUsage with page cache, WorkingSet without what can be dropped at once, RSS anonymous memory.
	MemoryUsage     uint64
	MemoryWorking   uint64
	MemoryRSS       uint64
	MemoryLimit     uint64 // 0: none
	PageFaults      uint64
	MajorPageFaults uint64
	Pids            uint64
	// RootfsBytes and RootfsInodes are the writable layer (containers only).
	RootfsBytes  uint64
	RootfsInodes uint64
	LogBytes     uint64
	// PSI is pressure stall information; nil where the kernel gives none (cgroup v1).
	StartTime time.Time
}

// NetworkStats of the sandbox's first interface.
type NetworkStats struct {
	Interface                            string
	RxBytes, RxErrors, TxBytes, TxErrors uint64
}

// PodStats of the pod's cgroup and interface.
type PodStats struct {
	Stats
	Network *NetworkStats // nil on the host network
}
