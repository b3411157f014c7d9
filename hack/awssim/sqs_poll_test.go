// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// receiving starts a long poll and returns once the simulator has it.
func (q testQueue) receiving() (done <-chan error, cancel func()) {
	before := len(q.sim.Calls("sqs", "ReceiveMessage"))
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(q.t.Context())
	go func() {
		out, err := q.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &q.url, WaitTimeSeconds: 20})
		if err == nil && len(out.Messages) == 0 {
			err = errors.New("the poll came back empty")
		}
		ended <- err
	}()
	eventually(q.t, "the poll to arrive", func() bool { return len(q.sim.Calls("sqs", "ReceiveMessage")) > before })
	return ended, cancel
}

func TestSQSLongPollEndsWhenAMessageIsThere(t *testing.T) {
	for name, arrive := range map[string]func(q testQueue, held types.Message) error{
		"sent": func(q testQueue, _ types.Message) error {
			q.send("a")
			return nil
		},
		"sent through the package": func(q testQueue, _ types.Message) error {
			_, err := q.sim.SendMessage(q.url, "a")
			return err
		},
		"given back":    func(q testQueue, held types.Message) error { return q.hide(held, 0) },
		"visible again": func(q testQueue, held types.Message) error { return q.hide(held, 1) },
		"visible again in simulated time": func(q testQueue, _ types.Message) error {
			q.sim.Advance(time.Hour)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newTestQueue(t, Options{}, nil)
			q.send("held")
			held := q.receive()[0]
			done, cancel := q.receiving()
			defer cancel()
			begun := time.Now()
			if err := arrive(q, held); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("the poll ended %v after the message came", took)
			}
		})
	}
}

func TestSQSLongPollEndsEmpty(t *testing.T) {
	q := newTestQueue(t, Options{Now: stopped}, map[string]string{"ReceiveMessageWaitTimeSeconds": "1"})
	q.send("held")
	q.receive()
	begun := time.Now()
	q.expect("nothing came", q.receive())
	if took := time.Since(begun); took < time.Second {
		t.Errorf("the poll ended after %v, want a second", took)
	}
}

func TestSQSLongPollIsCancelled(t *testing.T) {
	t.Run("by the queue's end", func(t *testing.T) {
		q := newTestQueue(t, Options{}, nil)
		done, cancel := q.receiving()
		defer cancel()
		if err := q.sim.DeleteQueue(q.url); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !is[*types.QueueDoesNotExist](err) {
			t.Errorf("poll of a queue that went: %v", err)
		}
	})
	t.Run("by its client", func(t *testing.T) {
		q := newTestQueue(t, Options{}, nil)
		done, cancel := q.receiving()
		cancel()
		if err := <-done; err == nil {
			t.Error("the poll succeeded")
		}
		eventually(t, "the poll to end", func() bool {
			calls := q.sim.Calls("sqs", "ReceiveMessage")
			return calls[0].Done && calls[0].Error == "dropped"
		})
		q.send("a")
		q.expect("the message is still there", q.receive(), "a")
	})
	t.Run("by the simulator's end", func(t *testing.T) {
		q := newTestQueue(t, Options{}, nil)
		done, cancel := q.receiving()
		defer cancel()
		begun := time.Now()
		if err := q.sim.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err == nil {
			t.Error("the poll succeeded")
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("closing took %v with a poll under way", took)
		}
		eventually(t, "the simulator's goroutines to end", func() bool {
			stacks := make([]byte, 1<<20)
			return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("awssim.(*Server)"))
		})
	})
}
