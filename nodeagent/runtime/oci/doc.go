// Package oci is the native container runtime: containers by an OCI runtime command (runc, crun) under conmon,
// sandboxes by package sandbox, images by package images.
//
// The agent runs nothing that a container depends on. Conmon, one small process a container, holds the container's
// streams, writes its log and records its exit code; it lives in the pod's control group. What the agent knows is in
// files, so that the next agent goes on where a killed one stopped:
//
//	containers/ID/container.json   configuration and state
//	containers/ID/config.json      the OCI bundle
//	containers/ID/{upper,work,rootfs}
//	exits/ID                       exit code, written by conmon
//	run/ID                         state of the OCI runtime
//
// A container is created in the kernel only when it is started: that a command is not in the image is found out by the
// OCI runtime while creating, and Kubernetes calls it an error of the start. CreateContainer prepares the rest.
//
// The end of a container is learnt from the end of its conmon, through a pidfd, which covers a conmon that was killed as
// well. Signals go to the process directly. Starting a created container and removing an ended one are done without a
// run of the OCI runtime where it is runc or crun, whose state is a folder and a fifo: that is a third of the time.
package oci
