package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// board is where the story is told: on a terminal as one screen that is drawn
// again and again, elsewhere as plain lines, one for each event.
type board struct {
	out   io.Writer
	live  *terminal // nil: plain lines
	on    ink
	start time.Time

	mu        sync.Mutex
	now       *step
	happening string
	said      []string
	up        time.Time // when the VIP was first answered for

	// writing is not under mu: a terminal that is stopped (^S) stops no story.
	writing sync.Mutex
	trouble error
	failed  func(error) // is told of the first error of writing
}

// newBoard returns a board for what the output is: a screen for a terminal that
// can do it, plain lines else.
func newBoard(o Options, begin time.Time) *board {
	b := &board{out: o.Out, start: begin, failed: func(error) {}}
	if f, ok := o.Out.(*os.File); ok && !slices.Contains([]string{"", "dumb"}, o.Getenv("TERM")) {
		b.live = openTerminal(f.Fd())
	}
	b.on = b.live != nil && o.Getenv("NO_COLOR") == "" // https://no-color.org
	return b
}

// introduce says what is going to be seen.
func (b *board) introduce(o Options, unfenced error) {
	b.print("leasehold demo: two MySQL hosts, " + hostA + " (a) and " + hostB + " (b), a witness (w),\n" +
		"one VIP, and a client that asks for it every 2 ms, on a network of its own.\n" +
		"Each node is one process, leasehold run, with a member of etcd of its own (TLS).\n")
	if o.NoMySQL {
		b.print("STAND-INS play mysqld (--no-mysql): processes that listen, and know no SQL.\n")
	}
	if unfenced != nil {
		b.print(fmt.Sprintf("No fence on this kernel, so ttl is %s: %s\n", unfencedTTL, unfenced))
	}
	b.print("\n")
}

// announce says what is about to be done.
func (b *board) announce(s *step) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now, b.happening = s, ""
	b.line(s.ID, s.Fault)
	b.line("", "keepalived: "+s.Noted)
	b.line("", "must hold: "+s.Must)
}

// tell says what is happening.
func (b *board) tell(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.happening = fmt.Sprintf(format, args...)
	b.line("", b.happening)
}

// judged says what came of a step.
func (b *board) judged(r row) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, fmt.Sprintf("%-5s %-4s %s", r.step.ID, r.verdict(), r.measured()))
	b.line(r.step.ID, r.verdict()+": "+r.measured())
	if r.err != nil {
		b.line("", r.err.Error())
	}
}

// isUp says since when the VIP is answered for.
func (b *board) isUp(since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.up = since
}

// line writes a plain line with the time, wrapped. b.mu is held.
func (b *board) line(id, text string) {
	if b.live != nil {
		return
	}
	stamp := clock(time.Since(b.start))
	for _, line := range wrap(text, screenWidth-len(stamp)-1-len(indent)) {
		b.print(fmt.Sprintf("%s %-5s %s\n", stamp, id, line))
		id = ""
	}
}

// clock writes minutes and seconds.
func clock(d time.Duration) string {
	return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// print writes to the output, and keeps the first error.
func (b *board) print(text string) {
	b.writing.Lock()
	defer b.writing.Unlock()
	if _, err := io.WriteString(b.out, text); err != nil && b.trouble == nil {
		b.trouble = fmt.Errorf("write: %w", err)
		b.failed(b.trouble)
	}
}

// onTrouble has failed told of the first error of writing, also of one that was.
func (b *board) onTrouble(failed func(error)) {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.failed = failed
	if b.trouble != nil {
		failed(b.trouble)
	}
}

// err returns the first error of writing.
func (b *board) err() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.trouble
}

// drawEvery is how often the screen is drawn: as often as the strip gets a mark.
const drawEvery = slice

// drawing has the screen drawn, on a terminal. stop ends it, and the terminal is as
// before then.
func (b *board) drawing(ctx context.Context, n *network) (stop func()) {
	if b.live == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.draw(ctx, n)
	}()
	return func() { cancel(); <-done }
}

func (b *board) draw(ctx context.Context, n *network) {
	w := &watch{net: n, seen: map[string]sighting{}}
	var wg sync.WaitGroup
	wg.Go(func() { w.run(ctx) })
	defer wg.Wait()
	b.print(b.live.enter())
	defer func() { b.print(b.live.leave()) }()
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	for {
		b.print(b.live.redraw(b.view(n, w, time.Now()), b.on))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// view is the present moment.
func (b *board) view(n *network, w *watch, now time.Time) view {
	probes := n.obs.Prober.Since(stripStart(now, stripMarks))
	v := view{
		elapsed: now.Sub(b.start), hosts: w.hosts(now), strip: strip(probes, b.start, now, settled, stripMarks), standIn: !n.real,
	}
	if n.sql != nil {
		v.sql = strip(n.sql.Probes(), b.start, now, settledSQL, stripMarks)
	}
	b.mu.Lock()
	up := b.up
	b.mu.Unlock()
	if !up.IsZero() { // before that nobody could answer
		asked, lost := n.obs.Prober.Count(now.Add(-settled))
		before, none := n.obs.Prober.Count(up)
		v.asked, v.lost = asked-before, lost-none
	}
	n.mu.Lock()
	v.apart = n.apart
	n.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	v.now, v.happening, v.said = b.now, b.happening, append(v.said, b.said...)
	return v
}
