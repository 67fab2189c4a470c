package control

import "time"

// Spec describes a machine to its init. It is written to a file before the machine starts, and read once.
type Spec struct {
	// Hostname is the machine's name, in its own UTS namespace.
	Hostname string
	// Root is an empty folder on which the machine's root file system is put together.
	Root string
	// Overlay is the folder that takes what the machine writes to its root file system. The host's own files lie below it
	// and are never changed.
	Overlay string
	// Binds are folders and files of the host that the machine sees, and may write, as they are.
	Binds []Bind
	// Files are written into the machine's root file system before anything runs, in place of the host's.
	Files []File
	// Sysctls are the machine's own: those of its network namespace.
	Sysctls map[string]string
	// Held names the inherited file descriptors that init keeps for its components, by number.
	Held map[string]int
	// Logs is the folder, as the machine sees it, that takes one log file for each component.
	Logs string
}

// Bind shows Source of the host as Target in the machine.
type Bind struct {
	Source, Target string
	ReadOnly       bool
}

// File is a small file of the machine's own.
type File struct {
	Path, Content string
	Mode          uint32
}

// Component is a program that init keeps running.
type Component struct {
	// Name names the log file and the component in requests.
	Name string
	// Argv is the program, by absolute path, and its arguments.
	Argv []string
	// Env is added to init's own.
	Env []string `json:",omitempty"`
	// Held names descriptors of Spec.Held which the program inherits as 3, 4, ... at each of its starts.
	Held []string `json:",omitempty"`
}

// State is how a component is doing.
type State struct {
	Name     string
	PID      int       // in the machine's PID namespace; 0 while it does not run
	Since    time.Time // start of the present run, or end of the last
	Restarts int
	LastExit string `json:",omitempty"` // "exit status 1", "signal: killed"; empty before the first end
	Wanted   bool   // false once a request has stopped it
}

// Op is what a request asks of init.
type Op string

const (
	// OpStart adds the component, or starts the one of that name again, as it was or as the request has it.
	OpStart Op = "start"
	// OpStop ends the component Name with SIGTERM, then SIGKILL after Grace, and keeps it stopped.
	OpStop Op = "stop"
	// OpSignal sends Signal to the component Name, which stays wanted: this is how tests kill.
	OpSignal Op = "signal"
	// OpStatus asks for the state of all components.
	OpStatus Op = "status"
	// OpExec runs Exec with the three descriptors that come with the request, and answers when it has ended. Closing the
	// connection kills it.
	OpExec Op = "exec"
)

// Request is one message to init; each has a connection of its own.
type Request struct {
	Op        Op
	Name      string        `json:",omitempty"`
	Component *Component    `json:",omitempty"`
	Signal    int           `json:",omitempty"`
	Grace     time.Duration `json:",omitempty"`
	Exec      *Exec         `json:",omitempty"`
}

// Exec is a command to run once in the machine.
type Exec struct {
	Argv []string
	Env  []string `json:",omitempty"`
	Dir  string   `json:",omitempty"`
	// Terminal makes descriptor 0 the controlling terminal of the command's session.
	Terminal bool `json:",omitempty"`
}

// Reply answers a Request.
type Reply struct {
	Error      string  `json:",omitempty"`
	Components []State `json:",omitempty"`
	ExitCode   int     `json:",omitempty"`
}
