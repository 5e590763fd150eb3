package election

import (
	"strings"
	"testing"
	"time"
)

// Every endpoint has its answer, in the order of the configuration, and one that
// hangs costs its timeout once.
func TestSurvey(t *testing.T) {
	e := startEtcd(t, 1)[0]
	c := open(t, Options{Endpoints: []string{refusingEndpoint(t), e.url, silentEndpoint(t)}})
	begin := time.Now()
	all := Survey(t.Context(), c, 2*time.Second)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	if len(all) != 3 {
		t.Fatalf("%d answers, want 3", len(all))
	}
	for _, i := range []int{0, 2} {
		if all[i].Err == nil || !strings.Contains(all[i].Err.Error(), all[i].URL) {
			t.Errorf("%s: got %v, want an error that names it", all[i].URL, all[i].Err)
		}
	}
	got := all[1]
	if got.Err != nil || got.ReadErr != nil || got.URL != e.url || !strings.HasPrefix(got.Version, "3.") || got.Took <= 0 ||
		got.Leader != got.Member || got.Leader == 0 || got.Cluster == 0 || len(got.Alarms) != 0 || got.Learner {
		t.Errorf("got %+v", got)
	}
}

// A member whose quota is full says so.
func TestSurveyAlarm(t *testing.T) {
	e := newEtcd(t, 1, "--quota-backend-bytes=1")[0]
	e.start(t)
	e.ready(t)
	_, _ = e.client(t).Put(t.Context(), "/leasehold/x", "") // raises the alarm
	c := open(t, Options{Endpoints: []string{e.url}})
	eventually(t, 10*time.Second, "the alarm in the survey", func() bool {
		got := Survey(t.Context(), c, 2*time.Second)[0]
		return len(got.Alarms) == 1 && strings.Contains(got.Alarms[0], "NOSPACE")
	})
}
