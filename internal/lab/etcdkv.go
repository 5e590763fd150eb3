package lab

import (
	"context"
	"encoding/base64"
	"fmt"
)

// EtcdKey is one key as etcd has it.
type EtcdKey struct {
	Key, Value string
	Lease      string // in hexadecimal, as etcdctl writes it; "0" is none
}

// Read returns the keys that begin with a prefix, in order, as the member on a
// host answers a linearizable read: an error says that it could not tell.
func (e *Etcd) Read(ctx context.Context, host, prefix string) ([]EtcdKey, error) {
	end := []byte(prefix)
	end[len(end)-1]++ // the first key that does not begin with it, see etcd's rpc.proto, RangeRequest
	ask := map[string]string{
		"key": base64.StdEncoding.EncodeToString([]byte(prefix)), "range_end": base64.StdEncoding.EncodeToString(end),
	}
	var reply struct {
		KVs []struct {
			Key, Value []byte
			Lease      int64 `json:",string"`
		} `json:"kvs"`
	}
	if err := e.call(ctx, host, "/v3/kv/range", ask, &reply); err != nil {
		return nil, err
	}
	var keys []EtcdKey
	for _, kv := range reply.KVs {
		keys = append(keys, EtcdKey{string(kv.Key), string(kv.Value), fmt.Sprintf("%x", kv.Lease)})
	}
	return keys, nil
}

// Put writes a key through the member on a host.
func (e *Etcd) Put(ctx context.Context, host, key string, value []byte) error {
	return e.call(ctx, host, "/v3/kv/put", map[string]string{
		"key": base64.StdEncoding.EncodeToString([]byte(key)), "value": base64.StdEncoding.EncodeToString(value),
	}, nil)
}

// NoSpace raises the alarm of a member that has used up its quota, or takes it
// back. While it stands the cluster refuses to put keys and to grant leases.
func (e *Etcd) NoSpace(ctx context.Context, host string, raised bool) error {
	s, err := e.Status(ctx, host)
	if err != nil {
		return err
	}
	action := "DEACTIVATE"
	if raised {
		action = "ACTIVATE"
	}
	return e.call(ctx, host, "/v3/maintenance/alarm",
		map[string]string{"action": action, "memberID": fmt.Sprint(s.Member), "alarm": "NOSPACE"}, nil)
}
