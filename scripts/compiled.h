/* Put in front of what mypyc generates. Its slice of bytes whose end lies before its start asks for a negative size,
   which is a SystemError; in Python that slice is empty. */
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static inline PyObject *
rdsp_bytes(const char *from, Py_ssize_t size)
{
    return (PyBytes_FromStringAndSize)(from, size < 0 ? 0 : size);
}
#define PyBytes_FromStringAndSize rdsp_bytes
