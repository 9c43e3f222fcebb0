package bgp

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Sizes and message types of RFC 4271, section 4.1.
const (
	headerLen  = 19
	maxMessage = 4096

	typeOpen         = 1
	typeUpdate       = 2
	typeNotification = 3
	typeKeepalive    = 4
	typeRouteRefresh = 5
)

// protocolError is a message that must not go further. Its code and subcode
// are those of the NOTIFICATION (RFC 4271, section 4.5) that answers it.
type protocolError struct {
	code, subcode byte
	problem       string
}

// Error says what was wrong with the message.
func (e *protocolError) Error() string { return e.problem }

// The error codes of RFC 4271, section 4.5, that the guard itself sends.
const (
	errHeader = 1
	errOpen   = 2
	errFSM    = 5
	errCease  = 6
)

// readMessage returns the next message of r, header included. The slice is
// valid until the next call: it is r's own buffer, which must hold a whole
// message.
func readMessage(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(headerLen)
	if err != nil {
		return nil, unexpected(err, len(head))
	}
	for _, b := range head[:16] {
		if b != 0xff {
			return nil, &protocolError{errHeader, 1, "the header's marker is not all ones"}
		}
	}
	n := int(binary.BigEndian.Uint16(head[16:]))
	if n < headerLen || n > maxMessage {
		return nil, &protocolError{errHeader, 2, fmt.Sprintf("a message of %d bytes", n)}
	}
	msg, err := r.Peek(n)
	if err != nil {
		return nil, unexpected(err, len(msg))
	}
	_, err = r.Discard(n)
	return msg, err
}

// unexpected tells the end of a connection between two messages, io.EOF, from
// one inside a message.
func unexpected(err error, got int) error {
	if err == io.EOF && got > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// message puts a header in front of body.
func message(typ byte, body ...byte) []byte {
	msg := make([]byte, headerLen, headerLen+len(body))
	for i := range 16 {
		msg[i] = 0xff
	}
	binary.BigEndian.PutUint16(msg[16:], uint16(headerLen+len(body)))
	msg[18] = typ
	return append(msg, body...)
}

func messageType(msg []byte) byte   { return msg[18] }
func messageBody(msg []byte) []byte { return msg[headerLen:] }
