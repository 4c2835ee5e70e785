// SPDX-License-Identifier: GPL-2.0
/* The queues that the auto door attaches: whose they are, and for how long. */
#include <pthread.h>

#include "auto/auto.h"
#include "queue/queue.h"

struct own_queue {
	struct prog p;
	volatile bool stop;
};

static void *keeps_reading(void *arg)
{
	struct own_queue *o = arg;

	while (!o->stop &&
	       CHECK_RET(run_fixed(&o->p, OP_READ, 0, o->p.mem.map, PAGE, 0), 0, "read"))
		;
	return NULL;
}

/* Has the file this queue?  Then it is given back; it may be the door's or ours. */
static void give_back(struct own_queue *o)
{
	int ret = nvme_pmap_detach_queue(o->p.dev.fd, 0);

	CHECK(!ret || ret == -ENOTCONN || ret == -EALREADY, "detach: %s", err_name(ret));
}

/*
 * The operator makes the door attach queues and give them back: a queue that the
 * program attached stays until the program detaches it.
 */
static void own_rounds(struct own_queue *o)
{
	unsigned int i, kept = 0;
	int ret;

	for (i = 0; i < 200 && !case_failed(); i++) {
		give_back(o);
		ret = nvme_pmap_attach_queue(o->p.dev.fd, 0);
		CHECK(!ret || ret == -EALREADY, "attach: %s", err_name(ret));
		set_door(&o->p.dev, "on");
		if (i % 4 == 3)
			sleep_ms(1);
		set_door(&o->p.dev, "queue");
		if (ret)
			continue;
		kept++;
		sleep_ms((unsigned int)rnd_below(3));
		CHECK_RET(nvme_pmap_detach_queue(o->p.dev.fd, 0), 0, "our own queue");
	}
	note("%u of %u times the queue was the program's", kept, i);
	CHECK(kept, "the program never had a queue");
}

void auto_own_queue(void)
{
	struct own_queue o = { .stop = false };
	uint64_t end = now_ms() + 60000;
	unsigned int free;
	pthread_t thread;

	/* the door attaches none otherwise */
	if (!opt.queues)
		return;
	if (prog_open(&o.p, MODE_IRQ, MEM_4K, LEN)) {
		free = queue_query(o.p.dev.fd).queues_free;
		pthread_create(&thread, NULL, keeps_reading, &o);
		own_rounds(&o);
		o.stop = true;
		pthread_join(thread, NULL);
		/* and the queue of the door is detached with it */
		give_back(&o);
		/* a try of its own may have failed meanwhile: another, at once */
		set_door(&o.p.dev, "queue");
		prog_warm(&o.p);
		set_door(&o.p.dev, "off");
		pinned_becomes(&o.p.dev, 0, 5000);
		while (queue_query(o.p.dev.fd).queues_free != free &&
		       CHECK(now_ms() < end, "the door keeps a queue"))
			sleep_ms(10);
	}
	prog_close(&o.p);
}

/*
 * Without buffers for a moment, as when a program registers others, the file keeps its
 * queue; not for long.
 */
void auto_queue_stays(void)
{
	struct nvme_pmap_query q;
	struct iovec iov;
	uint64_t begun;
	struct prog p;

	/* the door attaches none otherwise */
	if (!opt.queues)
		return;
	if (!prog_open(&p, MODE_IRQ, MEM_4K, LEN) || !prog_warm(&p))
		goto out;
	begun = now_ms();
	CHECK_RET(io_uring_unregister_buffers(&p.ring), 0, "unregister");
	pinned_becomes(&p.dev, 0, 10000);
	q = queue_query(p.dev.fd);
	/* for a second from when the door has looked; a jiffy less, as jiffies go */
	CHECK(q.queue_irq || now_ms() - begun >= 950, "the queue went with the last buffer");
	iov = (struct iovec){ p.mem.map, p.mem.len };
	if (CHECK_RET(io_uring_register_buffers(&p.ring, &iov, 1), 0, "register") &&
	    prog_warm(&p)) {
		CHECK_RET(io_uring_unregister_buffers(&p.ring), 0, "unregister");
		all_returned(&p.dev);
	}
out:
	prog_close(&p);
}
