package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// maxMessage bounds one message. The socket is of the kind that keeps messages apart (SOCK_SEQPACKET), so that no
// framing is needed; a longer message is refused by its sender's kernel or cut short, which the decoder notices.
const maxMessage = 128 << 10

// Network is the kind of unix socket that requests travel on.
const Network = "unixpacket"

// Send writes v, and files with it, as one message.
func Send(c *net.UnixConn, v any, files ...*os.File) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxMessage {
		return fmt.Errorf("message of %d bytes is longer than %d", len(body), maxMessage)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(body, rights, nil)
	return err
}

// Receive reads one message into v and returns the files that came with it, which are the caller's to close.
// The other side's end is io.EOF.
func Receive(c *net.UnixConn, v any) ([]*os.File, error) {
	body, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(8*4))
	n, oobn, _, _, err := c.ReadMsgUnix(body, oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	files, err := received(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body[:n], v); err != nil {
		closeAll(files)
		return nil, fmt.Errorf("message: %w", err)
	}
	return files, nil
}

func received(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // a control message of another kind carries no descriptors
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Call sends one request to the init that listens on the socket at path, and waits for its reply. A reply that says
// what went wrong becomes an error.
func Call(path string, req Request, files ...*os.File) (Reply, error) {
	c, err := net.DialUnix(Network, nil, &net.UnixAddr{Name: path, Net: Network})
	if err != nil {
		return Reply{}, err
	}
	defer c.Close()
	if err := Send(c, req, files...); err != nil {
		return Reply{}, err
	}
	var reply Reply
	if _, err := Receive(c, &reply); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the machine's init went away")
		}
		return Reply{}, err
	}
	if reply.Error != "" {
		return reply, errors.New(reply.Error)
	}
	return reply, nil
}
