package health

import (
	"context"
	"fmt"
	"net"
)

// tcpProbe connects and hangs up.
type tcpProbe struct{ address string }

func (p tcpProbe) probe(ctx context.Context) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", p.address)
	if err != nil {
		if timedOut(ctx, err) {
			return "", fmt.Errorf("%s: no connection in time", p.address)
		}
		return "", dialError(p.address, err)
	}
	_ = conn.Close() // the connection was the answer
	return p.address + " accepts connections", nil
}

func (tcpProbe) close() {}
