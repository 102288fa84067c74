// Python's buffers without NumPy and without copying: memoryview, array.array, NumPy array on the
// way in, memoryview on the way out.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace edgedst {

template <class T>
struct Format;
template <>
struct Format<float> {
  static constexpr char kCode = 'f';
  static constexpr const char* kName = "float32";
};
template <>
struct Format<double> {
  static constexpr char kCode = 'd';
  static constexpr const char* kName = "float64";
};
template <>
struct Format<uint32_t> {
  static constexpr char kCode = 'I';
  static constexpr const char* kName = "uint32";
};
template <>
struct Format<uint8_t> {
  static constexpr char kCode = 'B';
  static constexpr const char* kName = "bytes";
};

// "list", "numpy.ndarray". The stable ABI has no tp_name.
inline std::string type_of(nanobind::handle object) {
  const std::string module = nanobind::str(object.type().attr("__module__")).c_str();
  const std::string name = nanobind::str(object.type().attr("__qualname__")).c_str();
  return module == "builtins" ? name : module + "." + name;
}

// Holds a one-dimensional contiguous buffer of T while a call runs; T is const where the call only
// reads. What does not fit is a std::invalid_argument that says what came. Bytes are taken from a
// buffer of any format.
template <class T>
class BufferView {
  using Element = std::remove_const_t<T>;
  static constexpr bool kBytes = std::is_same_v<Element, uint8_t>;

 public:
  // `where` and `name` are for the sentence; `expected` < 0 accepts any length.
  BufferView(nanobind::handle object, const char* where, const char* name, int64_t expected) {
    const int flags = PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (std::is_const_v<T> ? 0 : PyBUF_WRITABLE);
    if (PyObject_GetBuffer(object.ptr(), &buffer_, flags) != 0) {
      PyErr_Clear();
      fail(where, name, expected,
           "is " + type_of(object) +
               (PyObject_CheckBuffer(object.ptr()) ? ", not contiguous or not writable"
                                                   : ", not a buffer"));
    }
    const std::string problem = mismatch(expected);
    if (problem.empty()) return;
    PyBuffer_Release(&buffer_);
    fail(where, name, expected, problem);
  }
  ~BufferView() { PyBuffer_Release(&buffer_); }
  BufferView(const BufferView&) = delete;
  BufferView& operator=(const BufferView&) = delete;

  T* data() const { return static_cast<T*>(buffer_.buf); }
  size_t size() const { return static_cast<size_t>(buffer_.len) / sizeof(Element); }

 private:
  std::string mismatch(int64_t expected) const {
    const char* format = buffer_.format ? buffer_.format : "B";
    if (*format == '@' || *format == '=' || *format == '<') ++format;
    if (!kBytes && (format[0] != Format<Element>::kCode || format[1] != '\0'))
      return std::string("has format '") + format + "'";
    if (!kBytes && buffer_.ndim != 1) return "has " + std::to_string(buffer_.ndim) + " dimensions";
    if (expected >= 0 && static_cast<int64_t>(size()) != expected)
      return "has " + std::to_string(size()) + (kBytes ? " bytes" : " numbers");
    return "";
  }

  [[noreturn]] static void fail(const char* where, const char* name, int64_t expected,
                                const std::string& problem) {
    const std::string count = expected < 0 ? "" : std::to_string(expected) + " ";
    throw std::invalid_argument(
        std::string(where) + ": `" + name + "` " + problem + ", expected " +
        (kBytes ? count + "bytes" : "a buffer of " + count + Format<Element>::kName));
  }

  Py_buffer buffer_;
};

// Memory of a bound object, as Python's buffer: it holds its owner, so that no view, nor a slice of
// one, outlives the memory. bind/memory.cpp binds it.
struct Region {
  nanobind::object owner;
  void* data;
  size_t bytes;
};

// A memoryview of `count` numbers of `owner`'s.
template <class T>
nanobind::object view(nanobind::handle owner, T* data, size_t count) {
  if (!data) throw std::invalid_argument("an object on a measuring arena has no memory");
  const nanobind::object region =
      nanobind::cast(Region{nanobind::borrow(owner), data, count * sizeof(T)});
  const nanobind::object bytes = nanobind::steal(PyMemoryView_FromObject(region.ptr()));
  if (!bytes.is_valid()) nanobind::raise_python_error();
  return bytes.attr("cast")(nanobind::str(&Format<T>::kCode, 1));
}

}  // namespace edgedst
