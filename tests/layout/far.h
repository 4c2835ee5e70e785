/* SPDX-License-Identifier: GPL-2.0 */
#ifndef PMAP_TEST_FAR_H
#define PMAP_TEST_FAR_H

/* The end of the largest buffer, in every form: 0, or 1 with a case failed. */
int far_slices(void);

#endif
